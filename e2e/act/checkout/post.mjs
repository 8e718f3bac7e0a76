// Runs after every other step, those after a cancellation too, because the
// checkout is the first: what is on the disk now stays there, or went into an
// image or a cache.
import { cpSync } from 'node:fs';
import { dirname, join } from 'node:path';

const { E2E_LEFT: left, RUNNER_TEMP: temp, GITHUB_WORKSPACE: workspace, GITHUB_OUTPUT: output } = process.env;
for (const [name, folder] of [['temp', temp], ['workspace', workspace], ['channels', dirname(output)]]) {
  cpSync(folder, join(left, name), { recursive: true });
}
