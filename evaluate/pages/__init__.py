"""Every HTML page with its template and figures, and the local server."""
