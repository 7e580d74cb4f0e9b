[
  inputs: ["{mix,.formatter}.exs", "lib/**/*.ex", "test/*.exs"],
  line_length: 120
]
