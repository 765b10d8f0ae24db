"""The rules by which ingest reads a catalogue: ids, prices, stocks, texts, photos and duplicates."""
