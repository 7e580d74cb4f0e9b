defmodule AcceptQueue.Busy do
  @moduledoc """
  A process that should accept and does something else, as `AcceptQueue.Acceptors` has it.

    * `pid`, `registered_name`, `label`, `initial_call`: what it is called; `nil` where it has no name, or no label
    * `parked`: what it waits for, as a name and a sentence; `nil` where it does not wait
    * `status`, `current_function`, `current_stacktrace`, `message_queue_len`: as `Process.info/2` has them
  """

  @enforce_keys [
    :pid,
    :parked,
    :status,
    :current_stacktrace,
    :message_queue_len,
    :initial_call,
    :current_function,
    :registered_name,
    :label
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          pid: pid(),
          parked: {atom(), IO.chardata()} | nil,
          status: atom(),
          current_stacktrace: [tuple()],
          message_queue_len: non_neg_integer(),
          initial_call: mfa(),
          current_function: mfa() | nil,
          registered_name: atom(),
          label: term()
        }
end
