"""Speaking to Attic servers (https://github.com/zhaofengli/attic) without its own client."""
