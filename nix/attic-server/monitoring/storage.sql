-- How full the caches are, as lines of Prometheus' text format.
--
--   retention   seconds that store paths are kept where their cache says nothing else; 0 means for ever
--
-- Letters of states as in Attic's server/src/database/entity/{chunk,nar}.rs. As in its garbage collector, a store path
-- may go when it was neither made nor fetched for as long as its cache keeps it, and a chunk when nothing refers to it.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
-- Counting must not keep the server busy for ever: rather no figures.
SET LOCAL statement_timeout = '10min';
SET LOCAL lock_timeout = '5s';

WITH listed AS (
  SELECT cache_id, nar_id, greatest(created_at, last_accessed_at) AS used FROM object
),
alive AS (
  SELECT id, name, coalesce(retention_period, :retention) AS retention FROM cache WHERE deleted_at IS NULL
),
counted AS (
  SELECT cache_id, count(*) AS objects, extract(epoch FROM now() - min(used)) AS oldest FROM listed GROUP BY cache_id
),
sized AS (
  SELECT cache_id, sum(nar_size) AS bytes
  FROM (SELECT DISTINCT cache_id, nar_id FROM listed) AS once JOIN nar ON nar.id = once.nar_id
  GROUP BY cache_id
)
SELECT format(E'attic_storage_objects{cache="%s"} %s\nattic_storage_bytes{cache="%1$s"} %3$s\n'
  'attic_storage_overdue_seconds{cache="%1$s"} %4$s', name, coalesce(objects, 0), coalesce(bytes, 0),
  CASE WHEN retention = 0 THEN 0 ELSE round(greatest(coalesce(oldest, 0) - retention, 0)) END)
FROM alive LEFT JOIN counted ON counted.cache_id = id LEFT JOIN sized ON sized.cache_id = id
ORDER BY name;

WITH states (letter, state) AS (VALUES ('V', 'valid'), ('P', 'pending'), ('C', 'deduplicated'), ('D', 'deleted'))
SELECT format('attic_storage_nars{state="%s"} %s', states.state, count(nar.id))
FROM states LEFT JOIN nar ON nar.state = letter GROUP BY states.state ORDER BY 1;

WITH states (letter, state) AS (VALUES ('V', 'valid'), ('P', 'pending'), ('C', 'deduplicated'), ('D', 'deleted'))
SELECT format(E'attic_storage_chunks{state="%s"} %s\nattic_storage_chunk_bytes{state="%1$s"} %3$s', states.state,
  count(chunk.id), coalesce(sum(file_size), 0))
FROM states LEFT JOIN chunk ON chunk.state = letter GROUP BY states.state ORDER BY 1;

SELECT 'attic_storage_orphan_chunks ' || count(*) FROM chunk
WHERE state = 'V' AND holders_count = 0 AND NOT EXISTS (SELECT FROM chunkref WHERE chunk_id = chunk.id);

SELECT 'attic_storage_stuck_chunks ' || count(*) FROM chunk WHERE state = 'P' AND created_at < now() - interval '1 day';

SELECT 'attic_storage_database_bytes ' || pg_database_size(current_database());
COMMIT;
