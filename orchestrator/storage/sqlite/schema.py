"""The tables of the SQLite store, as numbered migrations: the file's ``user_version`` counts those applied."""

from __future__ import annotations

APPLICATION_ID = 0x0C5E7A7E
"""In the header of the file: tells a store of ours from any other SQLite database."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE definitions (
        definition TEXT PRIMARY KEY,
        fingerprints TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        workflow TEXT NOT NULL,
        status TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_time ON runs (created_at);
    CREATE TABLE shards (
        run_id TEXT NOT NULL REFERENCES runs (id),
        shard INTEGER NOT NULL,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        owner TEXT,
        lease_until REAL NOT NULL,
        PRIMARY KEY (run_id, shard)
    ) WITHOUT ROWID;
    CREATE TABLE instances (
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        status TEXT NOT NULL,
        position TEXT NOT NULL,
        updated_at REAL NOT NULL,
        not_before REAL,
        body BLOB NOT NULL,
        PRIMARY KEY (run_id, number)
    );
    CREATE TABLE events (
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        at REAL NOT NULL,
        state TEXT NOT NULL,
        handler TEXT,
        attempt INTEGER,
        outcome TEXT,
        target TEXT,
        duration_s REAL,
        error TEXT,
        PRIMARY KEY (run_id, number, seq)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE events ADD COLUMN failure TEXT;
    ALTER TABLE events ADD COLUMN code TEXT;
    CREATE TABLE evidence (
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        at REAL NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX evidence_by_instance ON evidence (run_id, number);
    CREATE TABLE statistics (
        run_id TEXT NOT NULL,
        place INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (run_id, place)
    ) WITHOUT ROWID;
    """,
    # The form of statistics has changed.
    """
    DELETE FROM statistics;
    """,
    # The index holds everything that a summary counts and lists, so that it reads no bodies.
    """
    ALTER TABLE instances ADD COLUMN effects TEXT;
    CREATE INDEX instances_by_status ON instances (run_id, status, number, position, effects);
    """,
    # A shard owns the numbers with the same remainder; statistics belong to a claim of a shard.
    """
    ALTER TABLE shards DROP COLUMN first;
    ALTER TABLE shards DROP COLUMN count;
    ALTER TABLE shards ADD COLUMN of INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE shards ADD COLUMN elapsed REAL NOT NULL DEFAULT 0;
    ALTER TABLE shards ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
    DROP TABLE statistics;
    CREATE TABLE statistics (
        run_id TEXT NOT NULL,
        shard INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (run_id, shard, epoch, seq)
    ) WITHOUT ROWID;
    """,
    # A pause of a rate group outlives the process.
    """
    CREATE TABLE pauses (
        run_id TEXT NOT NULL,
        rate_group TEXT NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (run_id, rate_group)
    ) WITHOUT ROWID;
    """,
    # Runs are listed by status and workflow, and deleted; a run that another one reuses stays. Instances get rows as input.
    """
    ALTER TABLE runs ADD COLUMN reuse TEXT;
    UPDATE runs SET reuse = json_extract(CAST(body AS TEXT), '$.scenario.reuse') WHERE json_valid(CAST(body AS TEXT));
    CREATE INDEX runs_by_reuse ON runs (reuse) WHERE reuse IS NOT NULL;
    CREATE INDEX runs_by_status ON runs (status, created_at);
    CREATE INDEX runs_by_workflow ON runs (workflow, created_at);
    CREATE TABLE remains (
        run_id TEXT PRIMARY KEY
    ) WITHOUT ROWID;
    CREATE TABLE inputs (
        key TEXT PRIMARY KEY,
        run_id TEXT,
        owner TEXT,
        added_at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE input_rows (
        key TEXT NOT NULL,
        number INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (key, number)
    ) WITHOUT ROWID;
    """,
    # The claim that was asked to stop.
    """
    ALTER TABLE shards ADD COLUMN stop_epoch INTEGER NOT NULL DEFAULT 0;
    """,
    # Copies of runs that are not finished yet.
    """
    CREATE TABLE imports (
        run_id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        added_at REAL NOT NULL
    ) WITHOUT ROWID;
    """,
    # A few unfinished runs of a workflow that has many.
    """
    CREATE INDEX runs_by_workflow_and_status ON runs (workflow, status, created_at);
    """,
)
