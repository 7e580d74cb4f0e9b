import Config

# The tree of the application says what is watched, and how: see Shop.Application.
config :accept_queue, watch: :none
