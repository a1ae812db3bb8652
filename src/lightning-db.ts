/** The database as an application sees it. */

import { mkdirSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { findArtifacts } from './artifacts.js';
import { type LightningDbConfig, type ResolvedConfig, resolveConfig, withShards } from './config.js';
import type { CheckReport } from './coordinator/control-plane.js';
import type { EncodingInput, EncodingOption, EncodingType } from './encoding/encoding.js';
import { ClosedError, InvalidArgumentError, LightningError, ReadOnlyError } from './errors.js';
import { nodeFileSystem } from './file-system/node.js';
