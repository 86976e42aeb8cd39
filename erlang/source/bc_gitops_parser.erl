%%% @doc Specifications of applications: from a directory, a file, a map or a record.
%%%
%%% Owns the public shapes; reading and checking is the native library's. Works without the
%%% application started. A spec that is refused is never an exception: every function answers
%%% `{error, Reason}', and {@link format_error/1} makes text of it.
-module(bc_gitops_parser).

-include("bc_gitops.hrl").

-export([parse_apps_dir/1, parse_app_config/1, parse_app_config_file/1]).
-export([to_spec/1, atom_room/0, format_error/1]).
-export_type([spec_problem/0, spec_error/0]).

%% Atoms are never collected: what repositories may add to a VM ends here, and at 80 % of its limit.
-define(ATOMS_PER_VM, 100000).
-define(ATOM_LIMIT_PERCENT, 80).

-type spec_problem() :: #{
    file := binary(), line := non_neg_integer(), column := non_neg_integer(), path := binary(),
    kind := atom(), found := binary(), expected := binary(), hint := binary() | undefined,
    message := binary()
}.
%% One thing that is wrong in a file, or odd. Lines and columns count from 1; 0 is no place.

-type spec_error() :: #{
    dir := binary(), file := binary(), name := atom() | undefined, stale := boolean(),
    problems := [spec_problem()]
}.
%% All that is wrong with the spec of one directory.

%% @doc Reads the specs of all directories in a directory: `{ok, #{Name => #app_spec{}}}', or all
%% that is wrong with any of them. Directories without a spec are passed over.
-spec parse_apps_dir(file:name_all()) ->
    {ok, #{atom() => #app_spec{}}}
    | {error, {invalid_specs, [spec_error()]} | {Kind :: atom(), Details :: map()}}.
parse_apps_dir(Dir) ->
    bc_gitops_native:spec_dir(filename(Dir), atom_room()).

%% @doc Reads one spec file; its name tells the format (`.yaml', `.yml', `.json', else Erlang terms).
-spec parse_app_config_file(file:name_all()) ->
    {ok, #app_spec{}} | {error, {invalid_spec, [spec_problem()]}}.
parse_app_config_file(File) ->
    bc_gitops_native:spec_file(filename(File), atom_room()).

%% @doc Checks a map with the keys of a spec. The first thing that is wrong is the answer: a field
%% that is missing or of a wrong type in the shapes of 0.7, a value that is refused as
%% `{invalid_value, Field, Expected, Got}'.
-spec parse_app_config(map()) ->
    {ok, #app_spec{}}
    | {error, {missing_field, atom()} | {invalid_type, atom(), Expected :: atom(), Got :: term()} | tuple()}.
parse_app_config(Config) when is_map(Config) ->
    bc_gitops_native:spec_map(Config, atom_room());
parse_app_config(Other) ->
    {error, {invalid_type, spec, map, Other}}.

%% @doc A checked `#app_spec{}' from what callers hand over: a map, or a record of this version or
%% an older one (missing fields take their defaults).
-spec to_spec(map() | tuple()) -> {ok, #app_spec{}} | {error, tuple()}.
to_spec(Config) when is_map(Config) ->
    parse_app_config(Config);
to_spec(Record) when is_tuple(Record), tuple_size(Record) > 2, element(1, Record) =:= app_spec ->
    case to_map(Record, fields(app_spec)) of
        {ok, Map} -> parse_app_config(Map);
        error -> {error, {invalid_type, spec, app_spec, Record}}
    end;
to_spec(Other) ->
    {error, {invalid_type, spec, app_spec, Other}}.

%% @doc How many atoms a call may create.
-spec atom_room() -> non_neg_integer().
atom_room() ->
    Free = erlang:system_info(atom_limit) * ?ATOM_LIMIT_PERCENT div 100
        - erlang:system_info(atom_count),
    max(0, min(?ATOMS_PER_VM, Free)).

%% @doc The reason of an error as text, a line for each problem.
-spec format_error(term()) -> unicode:chardata().
format_error({invalid_specs, Errors}) ->
    lists:join($\n, [format_error({invalid_spec, Problems}) || #{problems := Problems} <- Errors]);
format_error({invalid_spec, Problems}) ->
    lists:join($\n, [Message || #{message := Message} <- Problems]);
format_error({missing_field, Field}) ->
    io_lib:format("~ts is missing", [Field]);
format_error({Kind, Field, Expected, Got}) when Kind =:= invalid_type; Kind =:= invalid_value ->
    io_lib:format("~ts: found ~tP, expected ~ts", [Field, Got, 10, Expected]);
format_error({_Kind, #{message := Message}}) ->
    Message;
format_error(Reason) ->
    io_lib:format("~tP", [Reason, 20]).

filename(Name) ->
    case filename:flatten(Name) of
        Binary when is_binary(Binary) -> Binary;
        Chars -> unicode:characters_to_binary(Chars, unicode, file:native_name_encoding())
    end.

fields(app_spec) -> record_info(fields, app_spec);
fields(source_spec) -> record_info(fields, source_spec);
fields(health_spec) -> record_info(fields, health_spec);
fields(icon_spec) -> record_info(fields, icon_spec);
fields(vm_config) -> record_info(fields, vm_config).

%% A record as the map that the parser takes; records inside of it as well.
to_map(Record, Fields) when tuple_size(Record) - 1 =< length(Fields) ->
    [_Tag | Values] = tuple_to_list(Record),
    Named = lists:zip(lists:sublist(Fields, length(Values)), Values),
    nested(Named, #{});
to_map(_Record, _Fields) ->
    error.

nested([{Key, Value} | Rest], Map) when
    is_tuple(Value), tuple_size(Value) > 0,
    (Key =:= source andalso element(1, Value) =:= source_spec) orelse
        (Key =:= health andalso element(1, Value) =:= health_spec) orelse
        (Key =:= icon andalso element(1, Value) =:= icon_spec) orelse
        (Key =:= vm_config andalso element(1, Value) =:= vm_config)
->
    case to_map(Value, fields(element(1, Value))) of
        {ok, Inner} -> nested(Rest, Map#{Key => Inner});
        error -> error
    end;
nested([{Key, Value} | Rest], Map) ->
    nested(Rest, Map#{Key => Value});
nested([], Map) ->
    {ok, Map}.
