"""The page of the metric's Space, where one can try it."""

import evaluate

evaluate.utils.launch_gradio_widget(evaluate.load(__file__.replace("app.py", "identification.py")))
