"""Lines of the event log as columns: what the archive stores, and what ingest reads."""

from batch_jobs.ingestion.files.loading import LINE_COLUMN
from batch_jobs.ingestion.files.records import UNREADABLE_ROW
from feature_repo import columns as c

REQUIRED_FIELDS = (c.BUYER_ID, c.PRODUCT_ID, c.EVENT_TYPE, c.TIMESTAMP)
EVENT_FIELDS = (*REQUIRED_FIELDS, c.EVENT_ID, c.QUANTITY, c.USER_AGENT)
# `reason` says why a line is no event; `line` is its text, and that of an event which lacks a required field.
LINE_COLUMNS = (*EVENT_FIELDS, c.REASON, LINE_COLUMN)


def parsed_lines_query(view: str) -> str:
    """The query of `{view}_file` and `{view}_unreadable` (files.loading) as source_line and LINE_COLUMNS, unordered."""
    # All fields by one call, because each call parses the line again.
    places = ", ".join(f"'$.{field}'" for field in EVENT_FIELDS)
    fields = ", ".join(f"found[{number}] AS {field}" for number, field in enumerate(EVENT_FIELDS, start=1))
    lacks_field = " OR ".join(f"found[{number}] IS NULL" for number in range(1, len(REQUIRED_FIELDS) + 1))
    return f"""
        SELECT source_line, {fields}, CASE WHEN found IS NULL THEN '{UNREADABLE_ROW}' END AS reason,
               CASE WHEN found IS NULL OR {lacks_field} THEN line END AS line
        FROM (SELECT source_line, line, CASE WHEN {_IS_OBJECT} THEN json_extract_string(line, [{places}]) END AS found
              FROM {view}_file)
        UNION ALL BY NAME SELECT source_line, reason, raw ->> '$' AS line FROM {view}_unreadable
    """


# Nested, because json_type refuses what is no JSON, and AND promises no order.
_IS_OBJECT = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
