"""The files that pass from stage to stage: raw records, documents, token shards, model folders."""
