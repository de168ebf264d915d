"""Log-mel nearest neighbour: the distance of a clip's mean log-mel spectrum to the nearest normal one."""
