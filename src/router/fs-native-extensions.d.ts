/** The part of fs-native-extensions that is used; the package has no types. */
declare module 'fs-native-extensions' {
  interface LockOptions {
    /** A lock that others may have at the same time; needs a descriptor that reads. */
    readonly shared?: boolean;
  }
  /** True when the lock was taken. It belongs to the open file, and dies with it. */
  export function tryLock(
    fd: number,
    offset: number,
    length: number,
    options?: LockOptions,
  ): boolean;
  export function unlock(fd: number, offset: number, length: number): void;
}
