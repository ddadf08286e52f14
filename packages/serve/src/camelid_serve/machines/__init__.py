"""The door for other machines: an HTTPS server where agents lease this machine's jobs, closed until it is started.

`door` are its routes, `held_jobs` what an agent may do to a job it holds, `received_files` what it sends, `certificate`
what it is known by. The other side is `camelid_core.machines`.
"""
