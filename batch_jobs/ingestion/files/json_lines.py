"""Files of JSON objects, one a line: the query that gives their keys as columns."""

import json
from itertools import islice
from pathlib import Path

from batch_jobs.ingestion.files.parts import table_parts
from batch_jobs.ingestion.files.utf8 import text_file
from feature_repo.common.sql import quoted_identifier, sql_string

SNIFFED_LINES = 1000


def json_lines_query(path: Path, scratch: Path) -> str | None:
    """The query over `line` whose columns are the keys of the first objects; None if the first line is no object.

    A line that is no JSON has null in all columns but `broken_line`.

    Args:
        path: A file, a folder of parts, or a pattern.
        scratch: Folder of temporary copies.

    Raises:
        ValueError: The file is cut short or damaged.
    """
    file = text_file(table_parts(path)[0], None, scratch, lines=True)
    with file.plain.open(encoding="utf-8-sig", errors="replace") as lines:
        objects = [_object(line) for line in islice(filter(str.strip, lines), SNIFFED_LINES)]
    if not objects or objects[0] is None:
        return None
    keys = dict.fromkeys(key for found in objects if found for key in found)
    columns = "".join(f"  row->>{sql_string(_place(key))} AS {quoted_identifier(key)},\n" for key in keys)
    return (
        f"SELECT\n{columns}  CASE WHEN row IS NULL THEN line END AS broken_line\n"
        "FROM (SELECT CASE WHEN json_valid(line) THEN line::JSON END AS row, line FROM source)"
    )


def _place(key: str) -> str:
    return "$." + json.dumps(key, ensure_ascii=False)


def _object(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
