"""The whole system in one process: web server, Celery worker and dispatcher, each in threads of it.

What the private broker loses when the process ends, the rows and the first dispatch pass bring back.
"""
