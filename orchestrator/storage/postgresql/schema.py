"""The tables of the PostgreSQL store, as numbered migrations: the table ``schema_version`` counts those applied."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE definitions (
        definition text PRIMARY KEY,
        fingerprints text NOT NULL
    );
    CREATE TABLE runs (
        id text PRIMARY KEY,
        workflow text NOT NULL,
        status text NOT NULL,
        created_at float8 NOT NULL,
        updated_at float8 NOT NULL,
        reuse text,
        body bytea NOT NULL
    );
    CREATE INDEX runs_by_time ON runs (created_at, id);
    CREATE INDEX runs_by_status ON runs (status, created_at);
    CREATE INDEX runs_by_workflow ON runs (workflow, created_at);
    CREATE INDEX runs_by_reuse ON runs (reuse) WHERE reuse IS NOT NULL;
    CREATE TABLE shards (
        run_id text NOT NULL REFERENCES runs (id),
        shard int4 NOT NULL,
        of int4 NOT NULL,
        epoch int8 NOT NULL,
        owner text,
        lease_until float8 NOT NULL,
        elapsed float8 NOT NULL,
        done bool NOT NULL,
        PRIMARY KEY (run_id, shard)
    ) WITH (fillfactor = 50);
    -- No index holds a column that changes in every step: the new version of a row then stays on its page, without a change of
    -- any index (HOT), for which pages have room.
    CREATE TABLE instances (
        run_id text NOT NULL,
        number int8 NOT NULL,
        status text NOT NULL,
        position text NOT NULL,
        updated_at float8 NOT NULL,
        not_before float8,
        effects text,
        body bytea NOT NULL,
        PRIMARY KEY (run_id, number)
    ) WITH (fillfactor = 50);
    CREATE INDEX instances_by_status ON instances (run_id, status, number, effects);
    CREATE TABLE events (
        run_id text NOT NULL,
        number int8 NOT NULL,
        seq int8 NOT NULL,
        kind text NOT NULL,
        at float8 NOT NULL,
        state text NOT NULL,
        handler text,
        attempt int4,
        outcome text,
        target text,
        duration_s float8,
        error text,
        failure text,
        code text,
        PRIMARY KEY (run_id, number, seq)
    );
    CREATE TABLE evidence (
        id int8 GENERATED ALWAYS AS IDENTITY,
        run_id text NOT NULL,
        number int8 NOT NULL,
        at float8 NOT NULL,
        body bytea NOT NULL
    );
    CREATE INDEX evidence_by_instance ON evidence (run_id, number, at);
    CREATE TABLE statistics (
        run_id text NOT NULL,
        shard int4 NOT NULL,
        epoch int8 NOT NULL,
        seq int8 NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (run_id, shard, epoch, seq)
    );
    CREATE TABLE pauses (
        run_id text NOT NULL,
        rate_group text NOT NULL,
        until float8 NOT NULL,
        PRIMARY KEY (run_id, rate_group)
    );
    CREATE TABLE remains (
        run_id text PRIMARY KEY
    );
    CREATE TABLE inputs (
        key text PRIMARY KEY,
        run_id text,
        owner text,
        added_at float8 NOT NULL
    );
    CREATE INDEX inputs_by_run ON inputs (run_id);
    CREATE TABLE input_rows (
        key text NOT NULL,
        number int8 NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (key, number)
    );
    """,
    # The claim that was asked to stop.
    """
    ALTER TABLE shards ADD COLUMN stop_epoch int8 NOT NULL DEFAULT 0;
    """,
    # Copies of runs that are not finished yet.
    """
    CREATE TABLE imports (
        run_id text PRIMARY KEY,
        owner text NOT NULL,
        added_at float8 NOT NULL
    );
    """,
)
