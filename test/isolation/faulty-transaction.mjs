/**
 * Transactions that are broken on purpose, each in one way, made from honest parts of the database:
 * what the checker must notice. `begin` has the surface that the list-append clients use.
 */

const tick = () => new Promise((resolve) => setImmediate(resolve));

/** What stands in for `db.begin({ isolation })`, by the name of the fault. */
export const FAULTS = {
  /** Writes are not validated: the last committer wins. */
  'unvalidated writes': (db, isolation) => {
    const tx = db.begin({ isolation });
    const writes = new Map();
    return {
      ...reads(tx, writes),
      put: (key, value) => writes.set(key, value),
      rollback: () => tx.rollback(),
      commit: async () => {
        tx.rollback();
        const batch = db.batch();
        for (const [key, value] of writes) batch.put(key, value);
        await batch.write();
      },
    };
  },

  /** What was read is not validated: snapshot isolation is sold as serializable. */
  'unvalidated reads': (db) => db.begin({ isolation: 'snapshot' }),

  /** The keys of a commit become visible one after the other. */
  'torn commit': (db, isolation) => {
    const tx = db.begin({ isolation });
    const writes = new Map();
    return {
      ...reads(tx, writes),
      put: (key, value) => {
        writes.set(key, value);
        tx.put(`claim:${key}`, value);
      },
      rollback: () => tx.rollback(),
      commit: async () => {
        // The claims keep others from writing the same keys, so that nothing but tearing is wrong.
        await tx.commit();
        for (const [key, value] of writes) {
          await db.put(key, value);
          await tick();
        }
      },
    };
  },

  /** Every read sees what is newest, instead of one moment. */
  'reads of the newest': (db, isolation) => {
    const tx = db.begin({ isolation });
    const writes = new Map();
    return {
      ...reads(db, writes),
      put: (key, value) => {
        writes.set(key, value);
        tx.put(key, value);
      },
      rollback: () => tx.rollback(),
      commit: () => tx.commit(),
    };
  },

  /** Writes can be seen before the commit, and stay when it fails. */
  'dirty writes': (db, isolation) => {
    const tx = db.begin({ isolation });
    const writes = new Map();
    let last = Promise.resolve();
    return {
      ...reads(db, writes),
      put: (key, value) => {
        writes.set(key, value);
        last = db.put(key, value);
      },
      rollback: () => tx.rollback(),
      commit: async () => {
        await last;
        await tx.commit();
      },
    };
  },

  /** The moment that is read lies further back than what was acknowledged. */
  'stale moment': (db, isolation) => {
    while (begun.length < 5) begun.push(db.begin({ isolation }));
    return begun.shift();
  },

  /** Own writes cannot be read. */
  'blind to itself': (db, isolation) => {
    const tx = db.begin({ isolation });
    const snapshot = db.begin({ isolation: 'snapshot' });
    const own = new Map();
    return {
      ...reads(snapshot, new Map()),
      /** Appends still read what they append to. */
      getForAppend: async (key) => own.get(key) ?? (await tx.get(key)),
      put: (key, value) => {
        own.set(key, value);
        tx.put(key, value);
      },
      rollback: () => {
        tx.rollback();
        snapshot.rollback();
      },
      commit: async () => {
        snapshot.rollback();
        await tx.commit();
      },
    };
  },

  /** Some writes of an acknowledged commit are lost. */
  'lost part': (db, isolation) => {
    const tx = db.begin({ isolation });
    const writes = new Map();
    return {
      ...reads(tx, writes),
      put: (key, value) => {
        writes.set(key, value);
        if (value.length % 7 !== 3) tx.put(key, value);
      },
      rollback: () => tx.rollback(),
      commit: () => tx.commit(),
    };
  },
};

/** Of 'stale moment': begun ahead of their use. */
const begun = [];

/** Reads of `source` with own writes over them. */
function reads(source, writes) {
  const get = async (key) => writes.get(key) ?? (await source.get(key));
  const getSync = (key) => writes.get(key) ?? source.getSync(key);
  return {
    get,
    getSync,
    getMany: (keys) => Promise.all(keys.map(get)),
    scanSync: ({ gte }) => {
      const value = getSync(gte);
      return value === undefined ? [] : [[gte, value]];
    },
    scan: ({ lte }) => ({
      toArray: async () => {
        const value = await get(lte);
        return value === undefined ? [] : [[lte, value]];
      },
    }),
  };
}
