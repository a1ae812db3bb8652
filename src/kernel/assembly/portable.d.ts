/** AssemblyScript's number types as the host sees them: `layout.ts` is compiled by both. */
declare type u32 = number;
declare type i32 = number;
