/**
 * Whether a database is as `close` leaves it: the logs of all shards are empty, and no bulk load is left to
 * be linked. Then nothing is replayed, cut or linked, so that the shards need not wait for what the
 * coordinator finds in its log, nor it for what they hold.
 *
 * Only reads. Whatever is unusual counts as not clean, damage too: those find it who read it for good.
 */
import { readDecisionLog } from '../coordinator/log-reader.js';
import { LightningError } from '../errors.js';
import { shardDirectoryName } from '../file-system/file-names.js';
import type { FileSystem } from '../file-system/file-system.js';
import { COORDINATOR_DIRECTORY } from '../version/database-file.js';
import { isLinkIntentName } from '../version/link-intent.js';
import { isLogEmpty } from '../wal/segment-files.js';

export interface DatabasePlace {
  readonly path: string;
  readonly databaseId: string;
  readonly shards: number;
}

export function isLeftClean(fs: FileSystem, { path, databaseId, shards }: DatabasePlace): boolean {
  const coordinator = `${path}/${COORDINATOR_DIRECTORY}`;
  try {
    if (fs.readdir(coordinator).some(isLinkIntentName)) return false;
    for (let shard = 0; shard < shards; shard++) {
      if (!isLogEmpty(fs, `${path}/${shardDirectoryName(shard)}`)) return false;
    }
    return readDecisionLog(fs, coordinator, databaseId) !== undefined;
  } catch (error) {
    if (error instanceof LightningError) return false;
    throw error;
  }
}
