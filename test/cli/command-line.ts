/** Runs the built command line as a shell would. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

export interface CommandResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Sends the signal once `when` says so; until then standard input stays open. */
  readonly interrupt?: { readonly signal: NodeJS.Signals; readonly when: () => boolean };
  /** The reader of standard output goes away after so many bytes. */
  readonly closeOutputAfterBytes?: number;
}

export function runCommand(
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { input, cwd, env, interrupt, closeOutputAfterBytes } = options;
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: 'pipe',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (closeOutputAfterBytes !== undefined && stdout.length >= closeOutputAfterBytes) {
      child.stdout.destroy();
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // A command that does not read its input closes it: no failure of ours.
  child.stdin.on('error', () => undefined);
  if (interrupt === undefined) {
    child.stdin.end(input);
  } else {
    child.stdin.write(input ?? '');
    const poll = setInterval(() => {
      if (!interrupt.when()) return;
      clearInterval(poll);
      child.kill(interrupt.signal);
    }, 20);
    child.on('exit', () => clearInterval(poll));
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}
