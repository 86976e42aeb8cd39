%%% @doc Stands in for the port mapper of test nodes, so that none is started: a node's port is the
%%% number at the end of its name.
-module(bct_epmd).

-export([args/1]).
-export([start_link/0, register_node/2, register_node/3, listen_port_please/2, address_please/3,
         port_please/2, port_please/3, names/1]).

%% @doc The arguments of a node, and its name.
args(Prefix) ->
    Port = integer_to_list(bct_server:free_port()),
    Name = Prefix ++ "-" ++ Port ++ "@127.0.0.1",
    {list_to_atom(Name), [
        "-epmd_module", "bct_epmd", "-start_epmd", "false", "-name", Name,
        "-setcookie", "bct-" ++ os:getpid(), "-kernel", "inet_dist_use_interface", "{127,0,0,1}"
    ]}.

start_link() -> ignore.

register_node(_Name, _Port) -> {ok, 1}.

register_node(_Name, _Port, _Family) -> {ok, 1}.

listen_port_please(Name, _Host) -> {ok, port(Name)}.

%% The version of the distribution protocol that OTP 23 and later speak.
address_please(Name, _Host, _Family) -> {ok, {127, 0, 0, 1}, port(Name), 6}.

port_please(Name, _Ip) -> {port, port(Name), 6}.

port_please(Name, Ip, _Timeout) -> port_please(Name, Ip).

names(_Host) -> {error, address}.

port(Name) ->
    [Node | _] = string:split(unicode:characters_to_list(atom_or_text(Name)), "@"),
    list_to_integer(lists:last(string:split(Node, "-", all))).

atom_or_text(Name) when is_atom(Name) -> atom_to_list(Name);
atom_or_text(Name) -> Name.
