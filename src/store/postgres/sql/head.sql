-- What the contract makes of the slot as it was found, at one reading of the clock; what is found
-- may be written to only if it is still there. $1 deadline, $2 slot.
WITH clock AS MATERIALIZED (
    -- A transaction begins before its statement sees anything: what is only told is judged by `seen`.
    SELECT {now} AS now, (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint AS seen
), found AS MATERIALIZED (
    SELECT record.*, record.expires > clock.now AS live
    FROM {records} AS record, clock WHERE record.slot = $2
),
