marked AS (
    UPDATE {records} AS r SET waited = true
    FROM clock, found
    WHERE {unchanged} AND found.live AND r.phase = 1 AND NOT r.waited
    RETURNING r.fence
), done AS (
    SELECT NULL::bigint AS fence, NULL::integer AS attempt, EXISTS (SELECT FROM marked) AS reclaimed,
        false AS waited
)
