defmodule AcceptQueue.Accepted do
  @moduledoc """
  What `AcceptQueue.accepted/2` answers.

    * `wait_ms`: how long the connection waited in the queue
    * `peer_closed`: whether its client has closed or reset meanwhile
  """

  @enforce_keys [:wait_ms, :peer_closed]
  defstruct @enforce_keys

  @type t :: %__MODULE__{wait_ms: non_neg_integer(), peer_closed: boolean()}
end
