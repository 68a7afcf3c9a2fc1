"""Upstreams: MCP servers behind the gateway, port `Upstream`."""
