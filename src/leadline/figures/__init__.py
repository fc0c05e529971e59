"""One function per picture: arrays and tables in, a matplotlib Figure (or a page of HTML) out.

Nothing here knows a run or a file format, and no function touches the state of pyplot: a figure can be made in a
thread of the web app as well as in a script.

Order inside the room: style · data_map · interactive · learning · distributions · quality · robustness · arms ·
strangeness · agreement.
"""
