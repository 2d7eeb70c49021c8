"""The tabs of the page, one file each, each with `build(site)`."""
