"""Ways to find each source's best match and to add rows to rows; which one is fastest depends on the device."""
