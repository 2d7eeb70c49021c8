"""What the page's scripts ask for: JSON, one file a subject, each with `routes(site)`."""
