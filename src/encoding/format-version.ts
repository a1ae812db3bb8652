import { LightningError } from '../errors.js';

/** Refuses files of a later format version, which only a later release can read. */
export function checkFormatVersion(found: number, newest: number, file: string): void {
  if (found >= 1 && found <= newest) return;
  throw new LightningError(
    'LIGHTNING_UNSUPPORTED_FORMAT',
    `Cannot read "${file}": its format version is ${found}, this release reads up to ${newest}; use the release that wrote it, or a newer one`,
    { details: { file, found, newest } },
  );
}
