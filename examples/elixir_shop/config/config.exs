import Config

# What is watched, and how, is in the supervision tree: see Shop.Application.
config :accept_queue, watch: :none
