//! What the adapters come to when things go wrong; needs an API server that does so at will.
