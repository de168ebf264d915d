"""Questions that workers ask and labels that people give: on topics, on the terminal, as options of training."""
