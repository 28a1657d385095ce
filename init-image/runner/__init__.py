"""
The main container of the init job: it runs the items of a plan in order, in the virtual cluster.

It uses the standard library only and nothing from kns. The plan (plan.py) is the whole contract between the two. The
package must never print its environment, which contains the job's secrets.
"""
