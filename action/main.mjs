import { step } from './program.mjs';

await step('main');
