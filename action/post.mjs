import { step } from './program.mjs';

await step('post');
