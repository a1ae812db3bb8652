/** How many keys prepared transactions hold: while it is 0, writes look at nothing else. */

export let heldKeys: u32 = 0;
/** 1 while prepared transactions hold ranges: every write is for the host to compare with them. */
export let heldRanges: u32 = 0;

export function setHeldKeys(count: u32): void {
  heldKeys = count;
}

export function setHeldRanges(isHeld: u32): void {
  heldRanges = isHeld;
}
