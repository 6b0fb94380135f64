"""A small stand-in for `func start`, for machines where Core Tools cannot be installed.

It loads function_app.py, serves the HTTP functions, fires the timers, polls the queues and answers
`POST /admin/functions/NAME`. It does what the real host does, as far as an app can see:
docs/host.md lists that, docs/architecture.md the known differences. It is for development only: no
leases, no scale-out. Without `--keys` it asks for no keys, so it answers programs of this machine
only, and no web page of another site.

As with the real host, the functions run in a process of their own, the worker. With `--like-flex`
there is one for each group of functions: all HTTP functions, and each timer and queue function.

    __main__    the command line
    host        the server: routes, the admin API, start and stop
    requests    a request as the real host hands it to a function
    timers      schedules, and runs that were missed
    queues      queue messages, tried again and then poison
    functions   what the decorators say of a function
    workers     the worker seen from the host: calls, timeouts, deaths
    worker      the worker itself
    frames      the messages between both
"""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
