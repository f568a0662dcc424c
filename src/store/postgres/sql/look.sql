done AS (
    SELECT NULL::bigint AS fence, NULL::integer AS attempt, pg_is_in_recovery() AS reclaimed,
        false AS waited
)
