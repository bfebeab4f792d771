"""The agents on the wire: A2A protocol 1.0 and 0.3 over JSON-RPC, with the project's official SDK."""
