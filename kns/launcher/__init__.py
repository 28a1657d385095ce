"""
A plugin for the Posit Job Launcher: it speaks the Launcher's plugin protocol on stdin and stdout, and runs each job as
a Kubernetes Job in one namespace (`kns.plain`).

Nothing but frames may reach stdout. The cluster is the only store.
"""
