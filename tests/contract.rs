//! The cluster adapters' contract suite.
