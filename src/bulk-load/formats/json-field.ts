/**
 * Finds the source text of a field in JSON that is known to be well-formed.
 *
 * `JSON.parse` rounds numbers to doubles. Where a field's exact digits matter (a number as a key, an
 * object as a value) they are taken from the text instead.
 */

/** Index behind the string that begins at `at`. */
function skipString(text: string, at: number): number {
  let index = at + 1;
  for (;;) {
    const code = text.charCodeAt(index);
    if (code === 0x22) return index + 1;
    index += code === 0x5c ? 2 : 1;
  }
}

function skipBlanks(text: string, at: number): number {
  let index = at;
  while (index < text.length && ' \t\n\r'.includes(text.charAt(index))) index++;
  return index;
}

/** Index behind the value that begins at `at`. */
function skipValue(text: string, at: number): number {
  const first = text.charAt(at);
  if (first === '"') return skipString(text, at);
  if (first !== '{' && first !== '[') {
    let index = at;
    while (index < text.length && !' \t\n\r,]}'.includes(text.charAt(index))) index++;
    return index;
  }
  let depth = 0;
  let index = at;
  do {
    const character = text.charAt(index);
    if (character === '"') {
      index = skipString(text, index);
      continue;
    }
    if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    index++;
  } while (depth > 0);
  return index;
}

/** Where the member `name` of the object or array that begins at `at` begins, or -1. */
function findMember(text: string, at: number, name: string): number {
  const isArray = text.charAt(at) === '[';
  let found = -1;
  let index = skipBlanks(text, at + 1);
  for (let position = 0; index < text.length && !']}'.includes(text.charAt(index)); position++) {
    let member = String(position);
    if (!isArray) {
      const nameEnd = skipString(text, index);
      member = JSON.parse(text.slice(index, nameEnd)) as string;
      index = skipBlanks(text, skipBlanks(text, nameEnd) + 1);
    }
    // Of members with the same name the last counts, as for JSON.parse.
    if (member === name) found = index;
    index = skipBlanks(text, skipValue(text, index));
    if (text.charAt(index) === ',') index = skipBlanks(text, index + 1);
  }
  return found;
}

/** Source text of the value at `path`; undefined when there is none. */
export function jsonFieldText(text: string, path: readonly string[]): string | undefined {
  let at = skipBlanks(text, 0);
  for (const name of path) {
    if (!'{['.includes(text.charAt(at))) return undefined;
    at = findMember(text, at, name);
    if (at < 0) return undefined;
  }
  return text.slice(at, skipValue(text, at));
}
