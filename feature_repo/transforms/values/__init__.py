"""The rules by which values are read: ids, times, amounts, flags. Ingest and the API use the same ones."""
