//! A client core that holds exactly one socket to an OpenClaw Gateway.
