#!/usr/bin/env node
/** The command line's entry. */

import { runCommandLine } from './program.js';

process.exitCode = await runCommandLine(process.argv.slice(2), {
  input: process.stdin,
  output: process.stdout,
  notes: process.stderr,
});
