"""Which encoding bytes are in, and reading them."""
