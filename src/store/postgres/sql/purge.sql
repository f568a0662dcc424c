-- $1 first block, $2 the block after the last
WITH expired AS MATERIALIZED (
    SELECT ctid FROM {records}
    WHERE ctid >= ('(' || $1 || ',0)')::tid AND ctid < ('(' || $2 || ',0)')::tid
        AND expires <= {now}
    FOR UPDATE SKIP LOCKED
)
DELETE FROM {records} AS r USING expired
WHERE r.ctid = expired.ctid AND r.expires <= {now}
