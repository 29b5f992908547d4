"""From the bytes of an HTTP answer to the text of its page: payload, charset, pre-scan, gate, main content."""
