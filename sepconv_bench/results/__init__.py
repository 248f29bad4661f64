"""What was found: records, the store, tables and their columns."""
